# frozen_string_literal: true

# Hearth's Ruby runtime: it loads the function's handler and serves events.
#
# What a function sees is what AWS's runtime shows it. What a plain function does not need
# (logging, HTTP) is loaded when first used.

$stdout.sync = true

require 'json'
require_relative 'hearth/function'

Hearth.run
