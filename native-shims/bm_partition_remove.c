#include "bm_shim.h"

#include <linux/blkpg.h>
#include <string.h>
#include <sys/ioctl.h>

/* Makes the kernel forget a partition of an open disk; fails while it is in use. */
int32_t bm_partition_remove(int32_t fd, int32_t number)
{
    struct blkpg_partition partition;
    memset(&partition, 0, sizeof partition);
    partition.pno = number;
    struct blkpg_ioctl_arg request = { .op = BLKPG_DEL_PARTITION, .datalen = sizeof partition, .data = &partition };
    return ioctl(fd, BLKPG, &request) == -1 ? -errno : 0;
}
