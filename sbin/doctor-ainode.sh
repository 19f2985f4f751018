#!/bin/sh
# Says what is wrong with this installation, machine or cluster, and what mends it; changes nothing:
# doctor-ainode.sh [-i PYTHON] [--json] [--quick] [-h]

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
exec "$home/lib/ainode" doctor "$@"
