#!/bin/sh
# Starts the AINode of this installation: start-ainode.sh [-i PYTHON] [-d] [-r] [-n] [-m MIRROR] [-v] [-h]
#   -i  run models with this Python; nothing is installed into it   -d  run in the background
#   -r  make the venv anew   -n  create and install nothing   -m  package index for pip   -v  log more

# Where this file really lies: links are followed, and the path may hold spaces.
self=$0
while [ -L "$self" ]; do
  target=$(readlink "$self")
  case $target:$self in
  /*) self=$target ;;
  *:*/*) self=${self%/*}/$target ;;
  *) self=$target ;;
  esac
done
case $self in
*/*) folder=${self%/*} ;;
*) folder=. ;;
esac
home=$(CDPATH='' cd -P -- "$folder/.." && pwd) || exit 1

# shellcheck source=sbin/ainode-common.sh
. "$home/sbin/ainode-common.sh"
check_system "$home"
print_banner "$home" "Starting IoTDB AINode" "$@"
exec "$home/lib/ainode" start "$@"
