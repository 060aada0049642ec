#include "bm_shim.h"

#include <linux/magic.h>
#include <sys/vfs.h>

/* 1 when the file system keeps its bytes in memory, so that reading does not wait for a disk; else 0. */
int32_t bm_in_memory(int32_t fd)
{
    struct statfs found;
    int result;
    BM_RETRY(result, fstatfs(fd, &found));
    if (result == -1) {
        return -errno;
    }

    return (uint32_t)found.f_type == TMPFS_MAGIC || (uint32_t)found.f_type == RAMFS_MAGIC;
}
