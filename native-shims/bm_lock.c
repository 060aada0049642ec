#include "bm_lock_fill.h"

/* Never waits: -EAGAIN when somebody else's lock is in the way. Belongs to the open file, not to the process. */
int32_t bm_lock(int32_t fd, int32_t kind, int64_t start, int64_t length)
{
    struct flock lock = bm_lock_fill(kind, start, length);
    int result;
    BM_RETRY(result, fcntl(fd, F_OFD_SETLK, &lock));
    if (result == -1) {
        return errno == EACCES ? -EAGAIN : -errno;
    }

    return 0;
}
