"""Several events at once: as many processes as AWS_LAMBDA_MAX_CONCURRENCY says, each with its own next event."""
import os
import sys
import time

import _hearth

from . import http, logs


def run(handler):
    import logging

    count = int(os.environ["AWS_LAMBDA_MAX_CONCURRENCY"])
    logging.getLogger().debug({
        "event": "runtime_worker_pool_initializing",
        "workerCount": count,
        "executionEnvironmentMaxConcurrency": count,
    })
    # The workers' records go to their own standard output.
    logging.getLogger().handlers.clear()
    _hearth._telemetry_fd = _hearth._sink = None
    logs.setup(logging)
    pids = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            _work(handler)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)


def _work(handler):
    status = 1
    try:
        _redirect(os.environ.get("_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET"))
        _hearth.serve(handler, _lasting(http.connect(os.environ["AWS_LAMBDA_RUNTIME_API"])))
    except SystemExit as e:
        status = e.code if isinstance(e.code, int) else 0 if e.code is None else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _redirect(path):
    """Gives this worker output streams of its own."""
    if not path:
        return
    import socket

    for stream in (sys.stdout, sys.stderr):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.connect(path)
            os.dup2(s.fileno(), stream.fileno())


def _lasting(connection):
    """A failed call ends one event, not the worker."""
    import logging

    receive, send, fail, init_failed = connection

    def patient_receive():
        delay = 0.1
        for attempt in range(1, 6):
            try:
                return receive()
            except Exception as e:
                if attempt == 5:
                    raise
                logging.warning("runtime_client.next() failed (attempt %d): %s", attempt, e)
                time.sleep(delay)
                delay *= 2

    def tolerant(call):
        def wrapped(*args):
            try:
                call(*args)
            except Exception as e:
                logging.warning("%s: This won't kill the Runtime loop", e)
        return wrapped

    def first_init_failed(*args):
        try:
            init_failed(*args)
        except http.Refused as e:
            if e.status != 403:  # Another worker was first.
                raise

    return patient_receive, tolerant(send), tolerant(fail), first_init_failed
