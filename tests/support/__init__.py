"""What the tests stand on: real servers on loopback, and servers that misbehave on purpose."""
