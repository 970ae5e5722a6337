"""ERB templates: what is written, what is trimmed, and which line of the source a line came from."""

from __future__ import annotations

import pytest

from sidekiq_py.erb import Rendered, render
from sidekiq_py.errors import InvalidConfig
from sidekiq_py.ruby_expression import Scope


def rendered(source: str, **environ: str) -> Rendered:
    return render(source, Scope(environ=environ, hostname="web-1", file="config/sidekiq.yml"))


def refusal(source: str, **environ: str) -> str:
    with pytest.raises(InvalidConfig) as caught:
        rendered(source, **environ)
    return str(caught.value)


def test_text_without_tags_stays_as_it_is():
    assert rendered("a: 1\nb: 50% < 3\n").text == "a: 1\nb: 50% < 3\n"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ('a: <%= ENV["X"] %>', "a: 7"),
        ("a: <%= nil %>|", "a: |"),
        ("a: <%= true %>", "a: true"),
        ("a: <%# a note %>|", "a: |"),
        ("a: <%% x", "a: <% x"),
        ("a\n<%= 1 -%>\nb", "a\n1b"),
        ("a\n  <%- if true -%>\nb\n  <%- end -%>\nc", "a\nb\nc"),
        ("a\n<% if true %>\nb\n<% end %>\nc", "a\n\nb\n\nc"),
        ("<% if ENV['X'] %>a<% else %>b<% end %>", "a"),
        ("<% if ENV['NO'] %>a<% else %>b<% end %>", "b"),
        ("<% unless ENV['NO'] %>a<% end %>", "a"),
        ("<% unless ENV['X'] then %>a<% else %>b<% end # unless %>", "b"),
        ("<% if 1 == 2 %>a<% elsif 1 == 1 %>b<% elsif 3 == 3 %>c<% else %>d<% end %>", "b"),
        ("<% if true %><% if false %>a<% else %>b<% end %>c<% end %>", "bc"),
        ("<% if false %><% if true %>a<% else %>b<% end %>c<% end %>", ""),
        ("<% threads = 2 + 1 %><%= threads %>", "3"),
        ("a\r\n<% if true -%>\r\nb\r\n<% end -%>\r\n", "a\r\nb\r\n"),
    ],
)
def test_tags_are_written_and_trimmed_as_erb_does(source, text):
    assert rendered(source, X="7").text == text


def test_every_line_knows_the_line_it_came_from():
    result = rendered("a\n<% if false -%>\nb\n<% else -%>\nc\n<% end -%>\nd <%= 1 -%>\n e\nf\n")

    assert result.text == "a\nc\nd 1 e\nf\n"
    assert [result.source_line(line) for line in (1, 2, 3, 4)] == [1, 5, 7, 9]


def test_ruby_in_a_yaml_comment_need_not_be_understood():
    assert rendered("a: 1\n  # <%= YAML.load(1) %>\nb: 2").text == "a: 1\n  # \nb: 2"


def test_the_branch_not_taken_is_not_evaluated():
    assert rendered('<% if false %><%= ENV.fetch("NO") %><% end %>').text == ""


@pytest.mark.row("K1")
def test_an_unknown_expression_stops_with_place_expression_and_fix():
    message = refusal('a: 1\nb: <%= File.read("x") %>\n')

    assert message.startswith(
        'config/sidekiq.yml:2: <%= File.read("x") %> is Ruby that sidekiq-py doesn\'t evaluate'
    )
    assert 'ENV.fetch("X", default)' in message
    assert "config/sidekiq.yml > sidekiq.rendered.yml" in message


def test_an_unknown_expression_stops_also_in_a_branch_that_is_not_taken():
    assert "no shell command is run" in refusal("<% if false %><%= `ls` %><% end %>")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ('\n\n<%= ENV.fetch("NO") %>', 'config/sidekiq.yml:3: <%= ENV.fetch("NO") %> can\'t be evaluated'),
        ("\n<%= 1", "config/sidekiq.yml:2: this <% is never closed by a %>"),
        ("\n<% if true %>", "config/sidekiq.yml:2: <% if true %> has no <% end %>"),
        ("<% end %>", "config/sidekiq.yml:1: <% end %> has no <% if … %> before it"),
        ("<% else %>", "<% else %> has no <% if … %> before it"),
        ("<% if true %><% else if false %><% end %>", "has if false where nothing is expected"),
        ("<%= 1e400.to_i %>", "can't be evaluated"),
        ("<% 5.times do |i| %>", "doesn't evaluate"),
        ("<% if true %>a<% end if %>", "where nothing is expected"),
    ],
)
def test_a_broken_template_says_where_and_what(source, sentence):
    assert sentence in refusal(source)


def test_nesting_without_end_is_refused_not_crashed_on():
    message = refusal("<%= " + "(" * 3_000 + "1" + ")" * 3_000 + " %>")

    assert "doesn't evaluate" in message
    assert len(message) < 1_500
