namespace BlockMount.Core.Formats;

/// <summary>A part of one of the host's block devices that an image shows as disk content.</summary>
/// <param name="Path">The node that was opened.</param>
/// <param name="Offset">First byte in it.</param>
/// <param name="Length">Bytes.</param>
/// <param name="IsWritten">Whether the image may write there; nobody else uses it then.</param>
public readonly record struct DeviceRange(string Path, long Offset, long Length, bool IsWritten);
