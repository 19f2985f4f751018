# Shared by the scripts of this folder. Only what the shell has built in: a start shall not wait for its script.
# shellcheck shell=sh

# check_system HOME: stops with one sentence where the node cannot run.
check_system() {
  system=
  if [ -r /proc/sys/kernel/ostype ]; then
    read -r system </proc/sys/kernel/ostype
  fi
  if [ "$system" != Linux ]; then
    echo "AINode runs on Linux 5.10 or newer; this is $(uname -s 2>/dev/null || echo another system): run it on a Linux machine, in a container, or on Windows in WSL2." >&2
    exit 1
  fi
  if [ ! -x "$1/lib/ainode" ]; then
    echo "$1/lib/ainode is missing or not executable: unpack the whole apache-iotdb-*-ainode-bin.zip again." >&2
    exit 1
  fi
}

# print_banner HOME TITLE ARGUMENTS...: nothing when the arguments ask for help or the version.
print_banner() {
  home=$1
  title=$2
  for word in "$@"; do
    case $word in
    -h | --help | --version) return ;;
    esac
  done
  echo "---------------------"
  echo "$title"
  echo "---------------------"
  echo "Installation: $home"
  echo "Program:      $home/lib/ainode"
}
