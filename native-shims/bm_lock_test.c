#include "bm_lock_fill.h"

/* 1 when another open file holds a lock that would conflict with this one, else 0. */
int32_t bm_lock_test(int32_t fd, int32_t kind, int64_t start, int64_t length)
{
    struct flock lock = bm_lock_fill(kind, start, length);
    int result;
    BM_RETRY(result, fcntl(fd, F_OFD_GETLK, &lock));
    if (result == -1) {
        return -errno;
    }

    return lock.l_type != F_UNLCK;
}
