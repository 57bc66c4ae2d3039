"""The secret of the gateway that the tests of the command line work with."""

SECRET = "a secret of the tests, long enough for HS512: sixty-four bytes, at least"
