#include "bm_shim.h"

#include <fcntl.h>

/* Asks the kernel to forget the file's clean pages. */
int32_t bm_drop_cache(int32_t fd)
{
    return -posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}
