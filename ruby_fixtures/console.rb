# frozen_string_literal: true

# Answers questions from a test for as long as its standard input is open: one JSON object a line each way,
# {method, params} in, {result} or {error: {class, message, backtrace}} out. Methods are Inspect's, and
# web_get, web_post and eval (Ruby source; `args` is what follows it).
output = $stdout.dup
$stdout.reopen($stderr) # whatever else prints must not come between the answers

require_relative "inspect"
require_relative "web"

PAGE = Page.new

def evaluate(source, args) # rubocop:disable Lint/UnusedMethodArgument -- `args` is for the source
  binding.eval(source, "eval")
end

def answer(method, params)
  case method
  when "web_get" then PAGE.get(*params)
  when "web_post" then PAGE.post(*params)
  when "eval" then evaluate(params[0], params[1])
  else Inspect.public_send(method, *params)
  end
end

$stdin.each_line do |line|
  begin
    request = JSON.parse(line)
    reply = JSON.generate("result" => answer(request["method"], request["params"]))
  rescue Exception => error # rubocop:disable Lint/RescueException -- the test wants to see all of them
    reply = JSON.generate("error" => {
      "class" => error.class.name, "message" => Inspect.text(error.message.dup), "backtrace" => error.backtrace.to_a.first(10)
    })
  end
  output.puts(reply)
  output.flush
end
