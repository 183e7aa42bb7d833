"""What a store promises, each promise with the tests that try to break it. KDPIPE_LONG=1 runs their long form."""
