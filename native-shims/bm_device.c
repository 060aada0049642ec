#include "bm_shim.h"

#include <linux/fs.h>
#include <stddef.h>
#include <sys/ioctl.h>

/* What a block device is right now. BLKBSZGET would be the page cache's block size, which says nothing about the device. */
int32_t bm_device(int32_t fd, struct bm_device_facts *facts)
{
    int logical = 0;
    unsigned int physical = 0;
    int read_only = 0;
    uint64_t sequence = 0;
    if (ioctl(fd, BLKGETSIZE64, &facts->bytes) == -1 || ioctl(fd, BLKSSZGET, &logical) == -1 || ioctl(fd, BLKROGET, &read_only) == -1) {
        return -errno;
    }

#ifdef BLKGETDISKSEQ
    /* Since Linux 5.15; older ones do not number media. */
    if (ioctl(fd, BLKGETDISKSEQ, &sequence) == -1) {
        sequence = 0;
    }
#endif
    facts->sequence = sequence;
    facts->logical_sector = (uint32_t)logical;
    facts->physical_sector = ioctl(fd, BLKPBSZGET, &physical) == -1 || physical < (unsigned int)logical ? (uint32_t)logical : physical;
    facts->read_only = read_only != 0;
    facts->reserved = 0;
    return 0;
}
