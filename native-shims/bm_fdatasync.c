#include "bm_shim.h"

#include <unistd.h>

/* Data and the metadata needed to read it back, the file's size included, are durable. */
int32_t bm_fdatasync(int32_t fd)
{
    int result;
    BM_RETRY(result, fdatasync(fd));
    return result == -1 ? -errno : 0;
}
