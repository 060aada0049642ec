using BlockMount.Core.Errors;
using BlockMount.Core.RawDisks;

namespace BlockMount.Core.Tests.RawDisks;

public sealed class RawDiskRulesTests
{
    private static readonly RawDiskDescriptor Valid = new()
    {
        DiskPath = "/dev/sda",
        Capacity = 100 * 4096,
        SectorSize = 4096,
        Parts = [Part(0, 4096), Part(8192, 4096) with { Device = "/dev/sda", DeviceOffset = 8192 }, Part(12288, 4096) with { Data = new byte[4096] }, Part(99 * 4096, 4096)],
    };

    public static TheoryData<RawDiskDescriptor, string> Invalid => new()
    {
        { Valid with { DiskPath = "sda" }, "the disk names the device 'sda'; allowed is a full path" },
        { Valid with { DiskPath = "/dev/a\"b" }, "allowed is a full path" },
        { Valid with { DiskPath = "/dev/a\nb" }, "'/dev/a?b'" },
        { Valid with { DiskPath = "\\\\.\\PhysicalDrive0" }, "allowed is a full path" },
        { Valid with { SectorSize = 520 }, "its sector size is 520" },
        { Valid with { SectorSize = 0 }, "its sector size is 0" },
        { Valid with { SectorSize = 131072 }, "its sector size is 131072" },
        { Valid with { Capacity = 0 }, "its size is 0 bytes" },
        { Valid with { Capacity = 4096 * 100 + 512 }, "allowed is a positive multiple of its sectors of 4096" },
        { Valid with { Parts = [Part(-4096, 8192)] }, "the part of 8192 bytes at byte -4096 does not lie inside the disk of 409600 bytes" },
        { Valid with { Parts = [Part(99 * 4096, 8192)] }, "does not lie inside" },
        { Valid with { Parts = [Part(4096, long.MaxValue)] }, "does not lie inside" },
        { Valid with { Parts = [Part(4096, 0)] }, "does not lie inside" },
        { Valid with { Parts = [Part(512, 4096)] }, "the part of 4096 bytes at byte 512 does not consist of whole sectors of 4096 bytes" },
        { Valid with { Parts = [Part(4096, 512)] }, "does not consist of whole sectors" },
        { Valid with { Parts = [Part(4096, 8192), Part(8192, 4096)] }, "the part of 4096 bytes at byte 8192 begins before the part in front of it ends, at byte 12288" },
        { Valid with { Parts = [Part(8192, 4096), Part(4096, 4096)] }, "begins before" },
        { Valid with { Parts = [Part(0, 4096) with { Data = new byte[4095] }] }, "comes with 4095 bytes of data" },
        { Valid with { Parts = [Part(0, 4096) with { Data = new byte[4096], Device = "/dev/sda" }] }, "has both a device and data" },
        { Valid with { Parts = [Part(0, 4096) with { Device = "" }] }, "at byte 0 names the device ''" },
        { Valid with { Parts = [Part(0, 4096) with { Device = "/dev/sda", DeviceOffset = 512 }] }, "begins at byte 512 of /dev/sda; allowed is a multiple of 4096" },
        { Valid with { Parts = [Part(0, 4096) with { Device = "/dev/sda", DeviceOffset = -4096 }] }, "begins at byte -4096" },
        { Valid with { Parts = [Part(0, 4096) with { Device = "/dev/sda", DeviceOffset = long.MaxValue - 4095 }] }, "begins at byte" },
    };

    [Fact]
    public void Areas_that_ascend_inside_the_disk_are_valid()
    {
        Valid.Validate();
        (Valid with { Parts = null }).Validate();
        Assert.False((Valid with { IsReadOnly = true }).IsWritten(Valid.Parts![1]));
        Assert.True((Valid with { IsReadOnly = true }).IsWritten(Valid.Parts[2]));
    }

    [Theory]
    [MemberData(nameof(Invalid), DisableDiscoveryEnumeration = true)]
    public void Anything_else_is_refused_in_a_sentence(RawDiskDescriptor disk, string sentence)
    {
        var error = Assert.Throws<DiskException>(disk.Validate);
        Assert.Equal(ErrorKind.InvalidArgument, error.Kind);
        Assert.Contains(sentence, error.Message, StringComparison.Ordinal);
    }

    private static RawPartitionDescriptor Part(long start, long length) => new() { Start = start, Length = length };
}
