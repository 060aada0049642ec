using System.Buffers.Binary;
using System.Numerics;
using BlockMount.Core.Errors;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>What each field of a sparse extent's header may be. Every bound is checked before anything is computed with the field.</summary>
internal static class VmdkHeaderRules
{
    public static void Check(string name, VmdkSparseHeader h, ReadOnlySpan<byte> sector, long fileLength)
    {
        CheckVersion(name, h);
        Require(name, h.Capacity is > 0 and <= long.MaxValue / SectorSize,
            $"VMDK capacity is {h.Capacity} sectors; allowed is 1 to {long.MaxValue / SectorSize}.");
        var minGrain = h.IsCow ? 1 : MinGrainSectors;
        Require(name, h.GrainSectors >= minGrain && h.GrainSectors <= MaxGrainSectors && BitOperations.IsPow2(h.GrainSectors),
            $"VMDK grain size is {h.GrainSectors} sectors; allowed is a power of two from {minGrain} to {MaxGrainSectors}.");
        Require(name, h.GtesPerGt is >= MinGtesPerGt and <= MaxGtesPerGt && BitOperations.IsPow2(h.GtesPerGt),
            $"VMDK grain tables have {h.GtesPerGt} entries; allowed is a power of two from {MinGtesPerGt} to {MaxGtesPerGt}.");
        if (!h.IsCow)
        {
            CheckHosted(name, h, sector, fileLength);
        }

        var perEntry = h.GrainSectors * h.GtesPerGt;
        var entries = ((h.Capacity - 1) / perEntry) + 1;
        if (entries > (ulong)MaxDirectoryEntries)
        {
            throw DiskErrors.Unsupported(name, $"VMDK capacity is {h.Capacity} sectors, which needs {entries} grain tables; this program opens up to {MaxDirectoryEntries}.");
        }

        CheckDirectory(name, "grain directory", h.Directory, (long)entries, fileLength);
        if (h.HasRedundantTables)
        {
            CheckDirectory(name, "redundant grain directory", h.RedundantDirectory, (long)entries, fileLength);
        }

        if (h.IsCow)
        {
            var stored = BinaryPrimitives.ReadUInt32LittleEndian(sector[OffCowGdEntries..]);
            Require(name, stored >= entries, $"COWD grain directory has {stored} entries; the capacity of {h.Capacity} sectors needs {entries}.");
        }
    }

    private static void CheckVersion(string name, VmdkSparseHeader h)
    {
        var known = h.IsCow ? h.Version == CowVersion : h.Version is >= MinVersion and <= MaxVersion;
        if (!known)
        {
            throw DiskErrors.Unsupported(
                name, h.IsCow ? $"COWD version is {h.Version}; known is {CowVersion}." : $"VMDK version is {h.Version}; known are {MinVersion} to {MaxVersion}.");
        }
    }

    private static void CheckHosted(string name, VmdkSparseHeader h, ReadOnlySpan<byte> sector, long fileLength)
    {
        Require(name, (h.Flags & FlagNewLineTest) == 0 || sector.Slice(OffNewLines, 4).SequenceEqual("\n \r\n"u8),
            "the line end test bytes 73 to 76 of the VMDK header were changed; the file was copied as text and is damaged.");
        if ((h.Flags & ~KnownFlags & RequiredFlags) != 0)
        {
            throw DiskErrors.Unsupported(
                name, $"VMDK flags are 0x{h.Flags:X}, of which 0x{KnownFlags:X} are known; the upper half names features that a reader must know.");
        }

        var algorithm = BinaryPrimitives.ReadUInt16LittleEndian(sector[OffCompressAlgorithm..]);
        if (h.IsCompressed && algorithm != CompressionDeflate)
        {
            throw DiskErrors.Unsupported(name, $"VMDK compression is {algorithm}; known is {CompressionDeflate} (deflate).");
        }

        if (h.DescriptorOffset != 0)
        {
            var sectors = (ulong)fileLength / SectorSize;
            Require(name, h.DescriptorOffset < sectors && h.DescriptorSize <= sectors - h.DescriptorOffset && h.DescriptorSize > 0,
                $"the VMDK descriptor has {h.DescriptorSize} sectors at sector {h.DescriptorOffset}, which do not lie in the file of {fileLength} bytes.");
        }
    }

    private static void CheckDirectory(string name, string what, ulong sector, long entries, long fileLength)
    {
        Require(name, sector > 0 && sector <= (ulong)fileLength / SectorSize && ((long)sector * SectorSize) + (4 * entries) <= fileLength,
            $"VMDK {what} of {entries} entries is at sector {sector}; it must lie behind the header and in the file of {fileLength} bytes.");
    }

    private static void Require(string name, bool holds, string sentence)
    {
        if (!holds)
        {
            throw DiskErrors.Corrupt(name, sentence);
        }
    }
}
