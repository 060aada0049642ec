#include "bm_shim.h"

#include <sys/mman.h>

/* Keeps pages of this process in memory once they are there, those mapped later as well; address space that is only reserved costs nothing. */
int32_t bm_lock_memory(void)
{
    return mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == -1 ? -errno : 0;
}
