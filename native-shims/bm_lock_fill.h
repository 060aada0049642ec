#ifndef BM_LOCK_FILL_H
#define BM_LOCK_FILL_H

#include "bm_shim.h"

#include <fcntl.h>
#include <unistd.h>

/* length 0 reaches to the largest offset. Open file description locks want l_pid 0. */
static inline struct flock bm_lock_fill(int32_t kind, int64_t start, int64_t length)
{
    struct flock lock = { 0 };
    lock.l_type = kind == BM_LOCK_WRITE ? F_WRLCK : kind == BM_LOCK_READ ? F_RDLCK : F_UNLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = start;
    lock.l_len = length;
    return lock;
}

#endif
