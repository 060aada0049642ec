#include "bm_shim.h"

#include <sys/prctl.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#define PR_GET_IO_FLUSHER 58
#endif

/* 1 when the calling thread is one that memory reclaim may wait for, else 0. */
int32_t bm_io_flusher(void)
{
    int on = prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0);
    return on == -1 ? -errno : on;
}
