#include "bm_shim.h"

#include <linux/fs.h>
#include <stddef.h>
#include <sys/ioctl.h>

/* Bytes of a block device and of its logical sector. */
int32_t bm_block_size(int32_t fd, uint64_t *bytes, uint32_t *sector)
{
    int logical = 0;
    if (ioctl(fd, BLKGETSIZE64, bytes) == -1 || ioctl(fd, BLKSSZGET, &logical) == -1) {
        return -errno;
    }

    *sector = (uint32_t)logical;
    return 0;
}
