using System.Numerics;
using BlockMount.Core.Errors;
using static BlockMount.Core.Formats.Vhd.VhdConstants;

namespace BlockMount.Core.Formats.Vhd;

/// <summary>What footer and header must fulfil before any of their numbers is used. Every failure names the field, its value and what is allowed.</summary>
internal static class VhdRules
{
    /// <exception cref="DiskException">A rule does not hold.</exception>
    public static void CheckFooter(string name, VhdFooter footer, long contentEnd)
    {
        if ((footer.Version & MajorVersionMask) != Version1)
        {
            throw DiskErrors.Unsupported(name, $"VHD version is 0x{footer.Version:X8}; known is 0x{Version1:X8}.");
        }

        Require(name, footer.DiskType is TypeFixed or TypeDynamic or TypeDifferencing,
            $"VHD disk type is {footer.DiskType}, not fixed (2), dynamic (3) or differencing (4).");
        Require(name, footer.CurrentSize is > 0 and <= long.MaxValue,
            $"VHD current size is {footer.CurrentSize}; allowed is 1 to {long.MaxValue}.");
        if (footer.DiskType == TypeFixed)
        {
            Require(name, footer.CurrentSize <= (ulong)contentEnd,
                $"VHD current size is {footer.CurrentSize}, but a fixed image of this length holds at most {contentEnd} bytes before its footer.");
        }
        else
        {
            Require(name, footer.DataOffset >= FooterSize && footer.DataOffset <= (ulong)Math.Max(0, contentEnd - DynamicHeaderSize),
                $"VHD data offset is {footer.DataOffset}; the dynamic header of {DynamicHeaderSize} bytes must lie behind the first {FooterSize} bytes and end by {contentEnd}.");
            Require(name, footer.DataOffset % SectorSize == 0, $"VHD data offset is {footer.DataOffset}; allowed is a multiple of {SectorSize}.");
        }
    }

    /// <exception cref="DiskException">The table starts outside the file or not at a sector.</exception>
    public static void CheckTableOffset(string name, ulong offset, long fileLength)
    {
        Require(name, offset >= FooterSize && offset <= (ulong)fileLength,
            $"VHD table offset is {offset}; allowed is {FooterSize} to the end of the file at {fileLength}.");
        Require(name, offset % SectorSize == 0, $"VHD table offset is {offset}; allowed is a multiple of {SectorSize}.");
    }

    /// <exception cref="DiskException">A rule does not hold.</exception>
    public static void CheckSparse(string name, VhdSparseHeader h, VhdFooter footer, long fileLength)
    {
        Require(name, BitOperations.IsPow2(h.BlockSize) && h.BlockSize is >= MinBlockSize and <= MaxBlockSize,
            $"VHD block size is {h.BlockSize}; allowed is a power of two from {MinBlockSize} to {MaxBlockSize}.");
        Require(name, (ulong)h.BlockSize * h.TableEntries >= footer.CurrentSize,
            $"VHD max table entries is {h.TableEntries}, which at {h.BlockSize} bytes a block is less than the current size, {footer.CurrentSize}.");
        Require(name, h.TableEnd <= fileLength,
            $"VHD block table of {h.TableEntries} entries ends at {h.TableEnd}, past the end of the file at {fileLength}.");
        Require(name, h.TableOffset >= h.Position + DynamicHeaderSize || h.TableEnd <= h.Position,
            $"VHD block table lies from {h.TableOffset} to {h.TableEnd}, across the dynamic header at {h.Position}.");
        if (h.TableEntries > MaxBlocks)
        {
            throw DiskErrors.Unsupported(name, $"VHD max table entries is {h.TableEntries}; this program opens up to {MaxBlocks}.");
        }

        Require(name, footer.DiskType != TypeDifferencing || h.ParentUniqueId != Guid.Empty,
            "VHD disk type is 4 (differencing) but the parent UUID is all zero; a differencing image names its parent.");
    }

    /// <exception cref="DiskException">A feature that is not known: the image is not to be written to.</exception>
    public static void RequireKnownFeatures(string name, VhdFooter footer)
    {
        if ((footer.Features & ~KnownFeatures) != 0)
        {
            throw DiskErrors.Unsupported(
                name, $"VHD features are 0x{footer.Features:X}, of which only 0x{KnownFeatures:X} are known, so it is not written to; add --read-only to read it.");
        }
    }

    private static void Require(string name, bool holds, string sentence)
    {
        if (!holds)
        {
            throw DiskErrors.Corrupt(name, sentence);
        }
    }
}
