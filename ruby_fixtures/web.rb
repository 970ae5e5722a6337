# frozen_string_literal: true

# The real Web UI. `ruby web.rb` serves it at HOST and PORT, else 127.0.0.1:9292; required, it offers Page.
require_relative "setup"
require "rack"
require "sidekiq/web"

# Asks for pages of the Web UI, and presses its buttons, without a server. One browser session for all.
class Page
  FROM_OUR_PAGE = {"HTTP_SEC_FETCH_SITE" => "same-origin"}.freeze # how Sidekiq 8 tells its own forms from others'

  def initialize
    @app = Sidekiq::Web.new
    @session = {}
  end

  # {status, headers, body}
  def get(path)
    answer(env("GET", path))
  end

  # Form fields by name; the token that Sidekiq 6 and 7 hide in each form is added.
  def post(path, fields = {})
    home = env("GET", "/")
    @app.call(home)
    token = home[:csrf_token]
    answer(env("POST", path, params: token ? {"authenticity_token" => token}.merge(fields) : fields))
  end

  private

  def env(method, path, options = {})
    Rack::MockRequest.env_for(path, {method: method, "rack.session" => @session}.merge(FROM_OUR_PAGE, options))
  end

  def answer(env)
    status, headers, body = @app.call(env)
    text = +""
    body.each { |part| text << part }
    body.close if body.respond_to?(:close)
    {"status" => status, "headers" => headers.to_h { |name, value| [name.downcase, value.to_s] },
     "body" => text.force_encoding(Encoding::UTF_8).scrub}
  end
end

# Rack 3 moved sessions and server handlers to gems of their own.
def rack_part(rack3, rack2)
  require rack3
rescue LoadError
  require rack2
end

if $PROGRAM_NAME == __FILE__
  require "securerandom"
  rack_part "rack/session", "rack/session/cookie"
  rack_part "rackup/handler/webrick", "rack/handler/webrick"
  webrick = defined?(Rackup::Handler::WEBrick) ? Rackup::Handler::WEBrick : Rack::Handler::WEBrick
  app = Rack::Builder.new do
    use Rack::Session::Cookie, secret: SecureRandom.hex(32), same_site: true, max_age: 86_400
    run Sidekiq::Web
  end
  trap("TERM") { webrick.shutdown }
  webrick.run(app.to_app, Host: ENV.fetch("HOST", "127.0.0.1"), Port: Integer(ENV.fetch("PORT", "9292")))
end
