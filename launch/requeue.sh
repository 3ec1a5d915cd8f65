# Sourced by the jobs of this folder: they are warned before their limit, stop, and are queued again while they progress.
# A command that stops as asked writes "CODE PROGRESS" to ARCHSR_EXIT_FILE: launchers turn every exit code into 1.
STATE=${ARCHSR_STATE:-.archsr}/$SLURM_JOB_ID  # a task of an array has a number of its own
export ARCHSR_EXIT_FILE=$STATE.exit
mkdir -p "${STATE%/*}" && rm -f "$ARCHSR_EXIT_FILE"
JOB="job $SLURM_JOB_ID, start ${SLURM_RESTART_COUNT:-0}"
warned="" ending=""

# watch PID ASK...: wait for a process, then set `code` and `progress`. ASK runs once, when SLURM wants the job to stop.
# USR1 comes before the time limit: the job is queued again. TERM: SLURM ends the job, and queues it again itself if it
# was pre-empted.
watch() {
  local pid=$1 heard=1
  ASK=("${@:2}")
  trap 'heard=1; echo "job $SLURM_JOB_ID: time is nearly up"; ask; warned=1' USR1
  trap 'heard=1; echo "job $SLURM_JOB_ID: ended from outside"; ask; ending=1' TERM
  while [ -n "$heard" ]; do  # wait returns early when a trap runs
    heard="" code=0
    wait "$pid" || code=$?
  done
  trap - USR1 TERM
  progress=-
  if [ -e "$ARCHSR_EXIT_FILE" ]; then
    read -r code progress <"$ARCHSR_EXIT_FILE" || true
  elif [ -n "$warned" ] && [ "$code" != 0 ]; then
    code=85  # ended before it could say so: what is finished is there
  fi
  rm -f "$ARCHSR_EXIT_FILE"
  echo "$JOB: ended with $code at $progress"
}

ask() {
  [ -n "$warned$ending" ] || "${ASK[@]}" &
}

# The end of a job after `watch`: queue it again if it stopped as asked, or leave with its exit code.
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
    sleep 600  # SLURM ends this shell; an exit of its own could start the jobs that wait for its success
  fi
}
