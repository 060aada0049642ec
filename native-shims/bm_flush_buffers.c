#include "bm_shim.h"

#include <linux/fs.h>
#include <stddef.h>
#include <sys/ioctl.h>

/* Writes a block device's page cache out and forgets it; root only. */
int32_t bm_flush_buffers(int32_t fd)
{
    return ioctl(fd, BLKFLSBUF, 0) == -1 ? -errno : 0;
}
