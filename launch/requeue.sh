# Sourced by the jobs of this folder. SLURM warns a job before its time limit; the job stops, and is requeued if it made
# progress. A command that stops gracefully writes "CODE PROGRESS" to ARCHSR_EXIT_FILE, because launchers turn every exit
# code into 1.
STATE=${ARCHSR_STATE:-.archsr}/$SLURM_JOB_ID  # each array task has its own job id
export ARCHSR_EXIT_FILE=$STATE.exit
mkdir -p "${STATE%/*}" && rm -f "$ARCHSR_EXIT_FILE"
JOB="job $SLURM_JOB_ID, start ${SLURM_RESTART_COUNT:-0}"
warned="" ending=""

# watch PID STOP...: waits for a process, then sets `code` and `progress`. The command STOP runs once, when SLURM asks the
# job to stop. USR1 comes before the time limit; the job is then requeued. TERM ends the job; SLURM requeues it itself if
# it was pre-empted.
watch() {
  local pid=$1 signalled=1
  STOP=("${@:2}")
  trap 'signalled=1; echo "job $SLURM_JOB_ID: time is nearly up"; request_stop; warned=1' USR1
  trap 'signalled=1; echo "job $SLURM_JOB_ID: stopped by SLURM"; request_stop; ending=1' TERM
  while [ -n "$signalled" ]; do  # wait returns early when a trap runs
    signalled="" code=0
    wait "$pid" || code=$?
  done
  trap - USR1 TERM
  progress=-
  if [ -e "$ARCHSR_EXIT_FILE" ]; then
    read -r code progress <"$ARCHSR_EXIT_FILE" || true
  elif [ -n "$warned" ] && [ "$code" != 0 ]; then
    code=85  # it ended before it wrote the file; finished work is kept
  fi
  rm -f "$ARCHSR_EXIT_FILE"
  echo "$JOB: ended with $code at $progress"
}

request_stop() {
  [ -n "$warned$ending" ] || "${STOP[@]}" &
}

# Ends a job after `watch`: requeues it after a graceful stop, and exits with its code.
leave() {
  if [ "$code" = 85 ] && [ -z "$ending" ]; then queue_again; fi
  [ "$code" = 85 ] || rm -f "$STATE.progress"
  exit "$code"
}

queue_again() {
  local before
  before=$(cat "$STATE.progress" 2>/dev/null) || true
  echo "$progress" >"$STATE.progress"
  if [ "${SLURM_RESTART_COUNT:-0}" -ge "${MAX_REQUEUES:-100}" ]; then
    echo "not queued again: MAX_REQUEUES (${MAX_REQUEUES:-100}) is reached" >&2
  elif [ "$before" = "$progress" ]; then
    echo "not queued again: no progress since the last start; the time limit is too short" >&2
  elif scontrol requeue "${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}"; then
    echo "job $SLURM_JOB_ID: queued again"
    sleep 600  # SLURM ends this shell; if it exited first, jobs that depend on its success could start
  fi
}
