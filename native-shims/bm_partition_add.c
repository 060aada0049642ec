#include "bm_shim.h"

#include <linux/blkpg.h>
#include <string.h>
#include <sys/ioctl.h>

/* Tells the kernel of a partition of an open disk, in bytes that are multiples of its logical sector. */
int32_t bm_partition_add(int32_t fd, int32_t number, int64_t start, int64_t length)
{
    struct blkpg_partition partition;
    memset(&partition, 0, sizeof partition);
    partition.pno = number;
    partition.start = start;
    partition.length = length;
    struct blkpg_ioctl_arg request = { .op = BLKPG_ADD_PARTITION, .datalen = sizeof partition, .data = &partition };
    return ioctl(fd, BLKPG, &request) == -1 ? -errno : 0;
}
