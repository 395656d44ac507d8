#!/bin/sh
# with_isa.sh ROW PROBE TEST: runs TEST on one row of the kernel table, or says 77, "skipped", where PROBE, any program
# that uses a kernel, finds that this machine has no such row.
HADAL_ISA=$1
export HADAL_ISA
"$2" --gtest_filter='Embed.*' >/dev/null 2>&1 || exit 77
exec "$3"
