using BlockMount.Core.Partitions;

namespace BlockMount.Core.RawDisks;

/// <summary>What <see cref="RawDiskPlanner"/> made of a choice.</summary>
/// <param name="Descriptor">Valid; ready to be written down.</param>
/// <param name="Table">The disk's table, with what is odd about it in its diagnostics; null for a whole disk.</param>
/// <param name="Warnings">One sentence each.</param>
public sealed record RawDiskPlan(RawDiskDescriptor Descriptor, PartitionTable? Table, IReadOnlyList<string> Warnings);
