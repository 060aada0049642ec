using System.Numerics;
using BlockMount.Core.Errors;
using static BlockMount.Core.Formats.Vdi.VdiConstants;

namespace BlockMount.Core.Formats.Vdi;

/// <summary>What a header must fulfil before any of its numbers is used. Every failure names the field, its value and what is allowed.</summary>
internal static class VdiHeaderRules
{
    /// <exception cref="DiskException">A rule does not hold.</exception>
    public static void Check(string name, VdiHeader h, long fileLength)
    {
        switch (h.Type)
        {
            case TypeNormal or TypeFixed or TypeDiff:
                break;
            case TypeUndo:
                throw DiskErrors.Unsupported(name, $"VDI type is {TypeUndo} (undo), which no released program writes; allowed are normal (1), fixed (2) and differencing (4).");
            default:
                throw DiskErrors.Corrupt(name, $"VDI type is {h.Type}; allowed are normal (1), fixed (2) and differencing (4).");
        }

        Require(name, BitOperations.IsPow2(h.BlockSize) && h.BlockSize is >= MinBlockSize and <= MaxBlockSize,
            $"VDI block size is {h.BlockSize}; allowed is a power of two from {MinBlockSize} to {MaxBlockSize}.");
        Require(name, h.BlockExtra == 0 || (BitOperations.IsPow2(h.BlockExtra) && h.BlockExtra <= MaxBlockSize),
            $"VDI extra data per block is {h.BlockExtra}; allowed is 0 or a power of two up to {MaxBlockSize}.");
        Require(name, h.DiskSize > 0, $"VDI disk size is {(ulong)h.DiskSize}; allowed is 1 to {long.MaxValue}.");
        Require(name, h.BlockCount > 0, "VDI block count is 0; at least 1 is allowed.");
        Require(name, h.BlocksAllocated <= h.BlockCount,
            $"VDI allocated-block count is {h.BlocksAllocated}; allowed is 0 to the block count, {h.BlockCount}.");
        Require(name, (ulong)h.BlockSize * h.BlockCount >= (ulong)h.DiskSize,
            $"VDI block count is {h.BlockCount}, which at {h.BlockSize} bytes a block is less than the disk size, {h.DiskSize}.");

        if (!h.IsVersion0)
        {
            Require(name, h.TableOffset >= PreHeaderSize + HeaderSizeV1,
                $"VDI block table offset is {h.TableOffset}; at least {PreHeaderSize + HeaderSizeV1} is allowed.");
            Require(name, h.TableOffset % 4 == 0, $"VDI block table offset is {h.TableOffset}; allowed is a multiple of 4.");
        }

        var tableEnd = h.TableOffset + (4L * h.BlockCount);
        Require(name, tableEnd <= h.DataOffset,
            $"VDI data offset is {h.DataOffset}; it must be at least {tableEnd}, the end of the table of {h.BlockCount} blocks at {h.TableOffset}.");
        Require(name, tableEnd <= fileLength,
            $"VDI block table ends at {tableEnd}, past the end of the file at {fileLength}.");
        if (h.BlockCount > MaxBlocks)
        {
            throw DiskErrors.Unsupported(name, $"VDI block count is {h.BlockCount}; this program opens up to {MaxBlocks}.");
        }

        Require(name, h.UuidCreate != Guid.Empty, "VDI image UUID is all zero; every image has one.");
        Require(name, h.UuidModify != Guid.Empty, "VDI modification UUID is all zero; every image has one.");
        Require(name, h.Type != TypeDiff || h.UuidLinkage != Guid.Empty,
            "VDI type is 4 (differencing) but the parent UUID is all zero; a differencing image names its parent.");
    }

    private static void Require(string name, bool holds, string sentence)
    {
        if (!holds)
        {
            throw DiskErrors.Corrupt(name, sentence);
        }
    }
}
