"""What the tests share: libraries, what they cannot do, how they are called, what is right."""
