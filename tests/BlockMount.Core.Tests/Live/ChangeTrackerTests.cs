using BlockMount.Core.Chain;

namespace BlockMount.Core.Tests.Live;

public sealed class ChangeTrackerTests
{
    [Fact]
    public void Changes_come_back_once_in_order_with_neighbours_together()
    {
        var tracker = new ChangeTracker((10 << 16) + 100);
        tracker.Note((10 << 16) + 99, 1);
        tracker.Note(65535, 2);
        tracker.Note(5 << 16, 1);
        Assert.Equal([(0L, 2L << 16), (5L << 16, 1L << 16), (10L << 16, 100L)], tracker.Take());
        Assert.Empty(tracker.Take());
    }

    /// <summary>A size costs a file nothing to claim, so it may not cost memory either.</summary>
    [Theory]
    [InlineData(1L << 53)]
    [InlineData(long.MaxValue)]
    public void A_huge_disk_takes_bounded_memory_and_loses_no_change(long length)
    {
        var before = GC.GetAllocatedBytesForCurrentThread();
        var tracker = new ChangeTracker(length);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 1, 17 << 20);
        tracker.Note(length - 1, 1);
        tracker.Note(1L << 40, 1);
        var ranges = tracker.Take();
        Assert.Equal(2, ranges.Count);
        Assert.True(ranges[0].Offset <= 1L << 40 && ranges[0].Offset + ranges[0].Length > 1L << 40);
        Assert.Equal(length, ranges[1].Offset + ranges[1].Length);
    }
}
