#include "bm_shim.h"

#include <unistd.h>

uint32_t bm_user_id(void)
{
    return (uint32_t)geteuid();
}
