#include "bm_shim.h"

#include <stdio.h>
#include <string.h>

/* The system's sentence for errno or -errno, cut to the buffer and ended with a zero byte. */
int32_t bm_error_text(int32_t error, char *buffer, int32_t length)
{
    if (length < 1) {
        return -EINVAL;
    }

    snprintf(buffer, (size_t)length, "%s", strerror(error < 0 ? -error : error));
    return 0;
}
