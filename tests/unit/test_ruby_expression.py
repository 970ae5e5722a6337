"""The Ruby that a sidekiq.yml may hold: evaluated as Ruby would, and nothing beyond it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidekiq_py.ruby_expression import CannotEvaluate, Scope, UnsupportedRuby, parse


def value_of(source: str, **environ: str) -> object:
    scope = Scope(environ=environ, hostname="web-1", path=Path("/app/config/sidekiq.yml"))
    return parse(source)(scope)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ('ENV["X"]', "7"),
        ("ENV['X']", "7"),
        ('ENV["NO"]', None),
        ('ENV.fetch("X", 5)', "7"),
        ('ENV.fetch("NO", 5)', 5),
        ("ENV.fetch('NO') { 5 + 1 }", 6),
        ('ENV.fetch("NO", ENV["X"])', "7"),
        ('ENV.key?("X") && !ENV.has_key?("NO")', True),
        ('ENV["NO"] || 10', 10),
        ('ENV["NO"] || ENV["X"] || 10', "7"),
        ('ENV["X"] && 3', "7" and 3),
        ('Integer(ENV["X"])', 7),
        ('Integer(ENV.fetch("NO", 5))', 5),
        ('Integer(" 0x1f ") + Integer("010") + Integer("-0b11")', 36),
        ('"010".to_i', 10),
        ('ENV["X"].to_i', 7),
        ('ENV["NO"].to_i', 0),
        ('(ENV["NO"] || 4).to_i', 4),
        ('ENV["X"].to_i * 2 + 1', 15),
        ("2 + 3 * 4", 14),
        ("10 - 2 - 3", 5),
        ("7 / 2", 3),
        ("-7 / 2", -4),
        ("7 / 2.0", 3.5),
        ("7 % 4", 3),
        ('ENV["X"] == "7"', True),
        ('ENV["X"] == 7', False),
        ('ENV["X"] != "8"', True),
        ("1 == 1.0", True),
        ("true == 1", False),
        ('ENV["X"].to_i > 5 ? "big" : "small"', "big"),
        ('ENV["NO"] ? 1 : ENV["X"] ? 2 : 3', 2),
        ('ENV["NO"].nil? ? :none : :some', "none"),
        ('ENV["EMPTY"].empty?', True),
        ('ENV["EMPTY"].present?', False),
        ('ENV["NO"].blank?', True),
        ('ENV["EMPTY"].presence || "z"', "z"),
        ('ENV["EMPTY"] || "z"', ""),
        ("0 || 1", 0),
        ('ENV["NO"]&.to_i || 5', 5),
        ("not false", True),
        ('ENV["NO"] or 4', 4),
        ('"12 apples".to_i', 12),
        ('"1_000".to_i', 1000),
        ('"0.5".to_f', 0.5),
        ('Float("0.5")', 0.5),
        ("String(5)", "5"),
        ("1_000", 1000),
        ("1.5e3", 1500.0),
        ("nil.to_s", ""),
        ("5.to_s", "5"),
        ('" a ".strip', "a"),
        ('"Ab".upcase + "Cd".downcase', "ABcd"),
        ('"abc".freeze', "abc"),
        (r"'it\'s'", "it's"),
        (r'"a\tb\"c"', 'a\tb"c'),
        ('"#{ENV["X"]}_low"', "7_low"),
        ('"#{ENV.fetch("NO") { "x" }}#{1 + 1}"', "x2"),
        ("Socket.gethostname", "web-1"),
        ("`hostname`", "web-1\n"),
        ("`hostname`.strip", "web-1"),
        ("`hostname`.chomp", "web-1"),
        ("__FILE__", "/app/config/sidekiq.yml"),
        ("__dir__", "/app/config"),
        ("5 # the usual", 5),
        ('threads = ENV["X"]', "7"),
    ],
)
def test_an_expression_has_the_value_that_ruby_gives_it(source, value):
    got = value_of(source, X="7", EMPTY="")

    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    "source",
    [
        'File.read("/etc/passwd")',
        'system("touch /tmp/x")',
        "`touch /tmp/x`",
        "`hostname -f`",
        "%x(ls)",
        'eval("1")',
        '__import__("os").system("ls")',
        'open("/etc/passwd").read()',
        "Rails.env",
        "Socket.tcp('a', 1)",
        "5.times { 1 }",
        'ENV["X"].split(",")',
        'ENV["X"].send(:to_i)',
        "ENV.to_h",
        "ENV",
        "ENV[",
        "[1, 2]",
        "{a: 1}",
        "1 +",
        "1 2",
        "(1",
        '"open',
        '"#{1"',
        "$stdout",
        "@x",
        "a; b",
        "x = y = 1",
        "",
        "5 if true",
        "::File",
        "1..2",
        'ENV["X"] =~ /a/',
        "Kernel.exit",
        "exit()",
        "lambda: 1",
        "().__class__",
        '"".__class__',
    ],
)
def test_anything_else_is_refused_before_it_runs(source):
    with pytest.raises(UnsupportedRuby):
        parse(source)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ('ENV.fetch("NO")', "the environment variable NO is not set"),
        ('Integer("abc")', r'Integer\(\) can\'t read "abc"'),
        ('Integer("09")', r"Integer\(\)"),
        ("Integer(nil)", "nil has no method .to_int"),
        ('Float("x")', r"Float\(\)"),
        ("nil.strip", "nil has no method .strip"),
        ("nil.empty?", "nil has no method .empty?"),
        ('"a" + 1', r'"a" \+ 1 has no value'),
        ('"a" * 1000000000', "has no value"),
        ("1 / 0", "divides by 0"),
        ("threads", "threads has no value here"),
        ("ENV[nil]", "name of an environment variable is text"),
        ("true.to_i", "true has no method .to_i"),
    ],
)
def test_where_ruby_would_raise_so_do_we_and_say_why(source, reason):
    with pytest.raises(CannotEvaluate, match=reason):
        value_of(source)
