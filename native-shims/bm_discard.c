#include "bm_shim.h"

#include <linux/fs.h>
#include <stddef.h>
#include <sys/ioctl.h>

/* Tells a block device that whole sectors hold nothing that is needed; what they read as from then on is up to the device. */
int32_t bm_discard(int32_t fd, int64_t offset, int64_t length)
{
    uint64_t range[2] = { (uint64_t)offset, (uint64_t)length };
    int result;
    BM_RETRY(result, ioctl(fd, BLKDISCARD, range));
    return result == -1 ? -errno : 0;
}
