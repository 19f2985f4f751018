/* The generated Thrift types of the outbound clients (ConfigNode, DataNode session). */
#pragma once

/* Registers every generated GType: call before the first use of a generated type, and before threads that use
 * them start (their get_type functions are not safe against concurrent first use). Repeated calls are free.
 */
void ain_protocol_register_types(void);
