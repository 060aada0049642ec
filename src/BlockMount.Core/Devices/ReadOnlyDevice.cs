namespace BlockMount.Core.Devices;

/// <summary>Refuses every change to the device it wraps.</summary>
public sealed class ReadOnlyDevice(BlockDevice inner) : FilterDevice(inner, isReadOnly: true);
