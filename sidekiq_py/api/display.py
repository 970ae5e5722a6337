"""How people see a job: ActiveJob's envelope taken off, secrets of Sidekiq Enterprise masked.

Everything here takes payloads as they come, damaged ones too, and never raises.
Ruby twin: Sidekiq::JobRecord#display_class and #display_args.
"""

from __future__ import annotations

from typing import Any, Final

from sidekiq_py import payload
from sidekiq_py.mend import WRAPPERS
from sidekiq_py.payload import Payload

MAILERS: Final = frozenset({"ActionMailer::DeliveryJob", "ActionMailer::MailDeliveryJob"})
MAILER_PREAMBLE: Final = 3  # mailer class, its action, "deliver_now"; the mail's own arguments follow
ENCRYPTED: Final = "[encrypted data]"
DEEPEST: Final = 100  # levels that are made readable; Ruby reads no deeper payloads at all


def display_class(job: Payload) -> str:
    """The name people know the job by; for a mail `Mailer#action`, for a job without a class ""."""
    arguments = _active_job_arguments(job)
    if arguments is not None and not job.get("display_class") and job.get("wrapped") in MAILERS:
        mailer = [part for part in arguments[:2] if isinstance(part, str)]
        if len(mailer) == 2:
            return "#".join(mailer)
    return payload.display_class(job) if _has_name(job) else ""


def display_args(job: Payload) -> list[Any]:
    """The arguments as the caller wrote them, as far as JSON can tell; [] when they are no list."""
    arguments = _active_job_arguments(job)
    if arguments is None:
        return _masked(job)
    shown = plain(arguments)
    return _mail_arguments(shown) if job.get("wrapped") in MAILERS else shown


def plain(value: Any, depth: int = 0) -> Any:
    """A value without ActiveJob's marks: GlobalIDs and serialised objects become what they stand for."""
    if depth > DEEPEST:
        return value
    if isinstance(value, list):
        return [plain(item, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    if isinstance(global_id := value.get("_aj_globalid"), str):
        return global_id
    if "_aj_serialized" in value and "value" in value:
        return plain(value["value"], depth + 1)
    return {key: plain(item, depth + 1) for key, item in value.items() if not key.startswith("_aj_")}


def _has_name(job: Payload) -> bool:
    return bool(job.get("display_class") or job.get("wrapped") or job.get("class"))


def _active_job_arguments(job: Payload) -> list[Any] | None:
    """What ActiveJob was given; None when this is no ActiveJob, or a damaged one."""
    args = job.get("args")
    if job.get("class") not in WRAPPERS or not isinstance(args, list) or not args:
        return None
    envelope = args[0]
    arguments = envelope.get("arguments") if isinstance(envelope, dict) else None
    return arguments if isinstance(arguments, list) else None


def _mail_arguments(shown: list[Any]) -> list[Any]:
    own = shown[MAILER_PREAMBLE:]
    if len(own) == 1 and isinstance(own[0], dict) and isinstance(args := own[0].get("args"), list):
        params = own[0].get("params")
        return [params, *args] if params else args
    return own


def _masked(job: Payload) -> list[Any]:
    args = job.get("args")
    if not isinstance(args, list):
        return []
    return [*args[:-1], ENCRYPTED] if args and job.get("encrypt") else list(args)
