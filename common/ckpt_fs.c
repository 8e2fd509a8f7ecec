/*
 * ckpt_fs: the list of file systems that are shared by machines.  It
 * writes nothing and tries no lock: a probe on one machine says nothing of
 * two.
 * SPDX-License-Identifier: ISC
 */
#include "ckpt_fs.h"

#include <sys/stat.h>
#ifdef __linux__
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#endif

#include <stdio.h>
#include <string.h>

#include "banned.h"

#define MAGIC_FUSE	0x65735546UL
#define MOUNT_LINE	8192	/* bytes of a line of mountinfo */

static const struct {
	unsigned long	 magic;
	const char	*name;
} shared[] = {
	{ 0x6969UL, "NFS" },
	{ 0x517bUL, "SMB" },
	{ 0xfe534d42UL, "SMB" },
	{ 0xff534d42UL, "CIFS" },
	{ 0x01021997UL, "9P" },
	{ 0x5346414fUL, "AFS" },
	{ 0x6b414653UL, "AFS" },
	{ 0x73757245UL, "Coda" },
	{ 0x564cUL, "NCP" },
	{ 0x00c36400UL, "Ceph" },
	{ 0x0bd00bd0UL, "Lustre" },
	{ 0x01161970UL, "GFS2" },
	{ 0x7461636fUL, "OCFS2" },
	{ 0x19830326UL, "BeeGFS" },
	{ 0x47504653UL, "GPFS" },
	{ 0x786f4256UL, "vboxsf" }
};

/* FUSE file systems whose files are of this machine. */
static const char *const local_fuse[] = { "fuseblk", "fuse.fuse-overlayfs",
	"fuse.bindfs", "fuse.gocryptfs", "fuse.encfs", "fuse.mergerfs",
	"fuse.lxcfs", "fuse.ntfs-3g" };

const char *
ckpt_fs_shared(unsigned long magic, const char *type)
{
	size_t	i;

	magic &= 0xffffffffUL;
	for (i = 0; i < sizeof(shared) / sizeof(shared[0]); i++)
		if (shared[i].magic == magic)
			return shared[i].name;
	if (magic != MAGIC_FUSE)
		return NULL;
	for (i = 0; type != NULL &&
	    i < sizeof(local_fuse) / sizeof(local_fuse[0]); i++)
		if (strcmp(local_fuse[i], type) == 0)
			return NULL;
	return "FUSE";
}

#ifdef __linux__
/* The type after " - " of the mount that is device dev; "" none. */
static void
mount_type(dev_t dev, char *out, size_t sz)
{
	FILE		*f = fopen("/proc/self/mountinfo", "re");
	char		 line[MOUNT_LINE], want[64], *s;
	size_t		 n;

	*out = '\0';
	if (f == NULL)
		return;
	/* 36 35 98:0 / /mnt rw - ext3 /dev/root rw */
	(void)snprintf(want, sizeof(want), " %u:%u ", major(dev),
	    minor(dev));
	while (*out == '\0' && fgets(line, sizeof(line), f) != NULL) {
		s = strchr(line, ' ');
		if (s != NULL)
			s = strchr(s + 1, ' ');
		if (s == NULL || strncmp(s, want, strlen(want)) != 0)
			continue;
		s = strstr(s, " - ");
		n = s != NULL ? strcspn(s + 3, " \n") : 0;
		if (n > 0 && n < sz) {
			memcpy(out, s + 3, n);
			out[n] = '\0';
		}
	}
	(void)fclose(f);
}

const char *
ckpt_fs_of(const char *path)
{
	char		type[64];
	struct statfs	fs;
	struct stat	st;

	if (statfs(path, &fs) == -1 || stat(path, &st) == -1)
		return NULL;
	*type = '\0';
	if (((unsigned long)fs.f_type & 0xffffffffUL) == MAGIC_FUSE)
		mount_type(st.st_dev, type, sizeof(type));
	return ckpt_fs_shared((unsigned long)fs.f_type,
	    *type != '\0' ? type : NULL);
}
#else
const char *
ckpt_fs_of(const char *path)
{
	(void)path;
	return NULL;
}
#endif
