#include "bm_shim.h"

#include <unistd.h>

int32_t bm_ftruncate(int32_t fd, int64_t length)
{
    int result;
    BM_RETRY(result, ftruncate(fd, length));
    return result == -1 ? -errno : 0;
}
