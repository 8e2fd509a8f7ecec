#!/bin/sh
# slurm-tasks.sh DIR [NODE]: the processes of jobs of slurm.sh's cluster, on
# NODE or on all: those that Slurm gave an environment, and whose children
# they are.
# SPDX-License-Identifier: ISC
dir=${1:?usage: slurm-tasks.sh DIR [NODE]} node=${2:-}
dir=$(cd "$dir" && pwd) || exit 66
exec perl -e 'my ($conf, $node) = @ARGV;
for my $d (glob "/proc/[0-9]*") {
	open my $f, "<", "$d/environ" or next;
	my %e = map { /(.*?)=(.*)/s } split /\0/, do { local $/; <$f> // "" };
	next if ($e{SLURM_CONF} // "") ne $conf || !$e{SLURM_JOB_ID};
	next if $node ne "" && ($e{SLURMD_NODENAME} // "") ne $node;
	$pid{$1} = 1 if $d =~ /(\d+)/;
	open $f, "<", "$d/stat" or next;
	my $up = (split / /, <$f> =~ s/.*\) //sr)[1];
	open $f, "<", "/proc/$up/cmdline" or next;
	$pid{$up} = 1 if (<$f> // "") =~ /^slurmstepd:/;
}
print map { "$_\n" } sort { $a <=> $b } keys %pid;' "$dir/conf" "$node"
