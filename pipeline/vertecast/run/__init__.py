"""Many studies: which ones, in which order, by which processes; what an earlier run has done is taken over.

Begin with `batch.run_batch`; `plan` says what there is to do, `jobs` does one patient, `workers` are the processes.
"""
