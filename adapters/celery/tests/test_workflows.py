"""All that the transport's tests expect of a worker of each pool, with the results in the jobs' own records."""

from test_celery_pools import *  # noqa: F403
