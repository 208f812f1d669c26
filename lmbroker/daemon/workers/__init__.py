"""Several processes as one service: a parent that listens, and workers that serve.

The parent accepts connections and hands them to the workers in turn, so each gets as many as any
other, and a worker that has died gets none. It reads the configuration, takes the signals, and
starts a worker anew when one has died. Everything else happens in the workers, each of which is
the broker of ``daemon`` with its connections brought by the parent.

  parent.py     the parent's service; accepting.py: its listeners
  worker_handle.py  the parent's handle of one worker, which starts its process
  handover.py   one configuration on its way into all workers
  beginning.py  the first message to a worker; offload/channel.py carries all of them
  process.py    a worker's process; worker.py: what it does
  tally.py      what all workers count, as one
  log.py        one log for many processes
"""
