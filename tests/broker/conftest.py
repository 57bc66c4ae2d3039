"""The asserts of the shared suite explain themselves as those of a test module do."""

import pytest

pytest.register_assert_rewrite("contract")
