"""The demonstration: the standard library measured by a graph of jobs. Run `python -m kombu_depqueue.demo`.

Every module of the standard library is parsed and measured by a job of its own; a job for each package adds up
the results of its modules, and one report adds up the packages. Several worker processes share the work; one of
them is killed with `kill -9` while it holds jobs, and the others get these when its leases have expired.

measure.py    what is measured: plain functions that know nothing of jobs
graph.py      the jobs and what they depend on, and the handlers that run them
worker.py     a worker process
processes.py  the worker processes seen from outside: start, kill, end
place.py      where the jobs are stored, and how that is cleared away
screen.py     progress on a terminal, or in plain lines
__main__.py   the run from start to verdict
"""
