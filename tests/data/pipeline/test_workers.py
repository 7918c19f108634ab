"""Workers that load batches outlive signals to all processes of a run, but not the run."""

import subprocess
import sys

from helpers.interruptions import wait_for_end

# Such a signal, and then the end without the usual end of Python.
PROGRAM = '''
import multiprocessing, os, signal, sys
from mnc_jax.data.pipeline.workers import follow_parent

def work(pipe):
  follow_parent(0, 1)
  pipe.send("ready")
  while True:
    pipe.send(pipe.recv())

if __name__ == "__main__":
  number = int(sys.argv[1])
  signal.signal(number, signal.SIG_IGN)
  context = multiprocessing.get_context("spawn")
  pipe, other = context.Pipe()
  worker = context.Process(target=work, args=(other,), daemon=True)
  worker.start()
  assert pipe.recv() == "ready"
  os.killpg(os.getpid(), number)
  pipe.send("still")
  print(pipe.recv(), "there", flush=True)
  os._exit(0)
'''


def test_a_worker_ignores_signals_and_ends_with_its_parent(tmp_path):
  (tmp_path / "program.py").write_text(PROGRAM)
  for number in (15, 2):  # SIGTERM, SIGINT.
    process = subprocess.Popen([sys.executable, str(tmp_path / "program.py"), str(number)],
                               stdout=subprocess.PIPE, text=True, start_new_session=True)
    # Until all processes have closed it.
    assert process.communicate(timeout=60)[0] == "still there\n"
    wait_for_end(process.pid)
