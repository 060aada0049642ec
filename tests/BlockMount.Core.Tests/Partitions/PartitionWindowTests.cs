using BlockMount.Core.Errors;
using BlockMount.Core.Partitions;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Partitions;

public sealed class PartitionWindowTests
{
    [Fact]
    public async Task What_must_not_be_written_to_refuses_writes_and_is_read()
    {
        var disk = new MemoryDevice(1 << 20);
        disk.Bytes[4096] = 7;
        await using var sound = PartitionWindow.Open(disk, 4096, 8192, null);
        await using var shared = PartitionWindow.Open(disk, 4096, 8192, "shares bytes");
        var bytes = new byte[1];

        await shared.ReadAsync(0, bytes, TestContext.Current.CancellationToken);
        var error = await Assert.ThrowsAsync<DiskException>(() => shared.WriteAsync(0, bytes, cancellationToken: TestContext.Current.CancellationToken).AsTask());

        Assert.Equal(7, bytes[0]);
        Assert.Equal(ErrorKind.ReadOnly, error.Kind);
        Assert.Equal((true, 8192L), (shared.IsReadOnly, shared.Length));
        await sound.WriteAsync(0, new byte[] { 8 }, cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal(8, disk.Bytes[4096]);
    }

    [Theory]
    [InlineData(false, true)]
    [InlineData(true, false)]
    public async Task Closing_it_closes_the_disk_only_when_it_owns_it(bool owns, bool open)
    {
        var disk = new MemoryDevice(1 << 20);
        await PartitionWindow.Open(disk, 0, 4096, "shares bytes", owns).DisposeAsync();

        var read = await Record.ExceptionAsync(() => disk.ReadAsync(0, new byte[1], TestContext.Current.CancellationToken).AsTask());

        Assert.Equal(open, read is null);
    }

    [Fact]
    public void A_mode_is_refused_only_where_writes_could_happen()
    {
        PartitionWindow.RequireMode("disk", isReadOnly: true, 3, "shares bytes");
        PartitionWindow.RequireMode("disk", isReadOnly: false, 3, null);
        var error = Assert.Throws<DiskException>(() => PartitionWindow.RequireMode("disk", isReadOnly: false, 3, "shares bytes"));

        Assert.Equal(ErrorKind.ReadOnly, error.Kind);
        Assert.Equal("disk: partition 3 shares bytes, so it only opens with --read-only.", error.Message);
    }
}
