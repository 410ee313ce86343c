import { Body, Controller, Get, Param, Post } from '@nestjs/common';
import {
  ApiConflictResponse,
  ApiCreatedResponse,
  ApiNotFoundResponse,
  ApiOkResponse,
  ApiOperation,
  ApiTags,
} from '@nestjs/swagger';
import { OrderAmountDto, OrderView } from './order.dto.js';
import type { Order } from './order.entity.js';
import { OrdersService } from './orders.service.js';

@ApiTags('orders')
@Controller('orders')
export class OrdersController {
  constructor(private readonly orders: OrdersService) {}

  @Post()
  @ApiOperation({ summary: 'A customer has paid' })
  @ApiCreatedResponse({ type: OrderView })
  @ApiConflictResponse({ description: 'There is an order of this id' })
  async create(@Body() { orderId, amount }: OrderAmountDto): Promise<OrderView> {
    return viewOf(await this.orders.create(orderId, amount));
  }

  @Get(':orderId')
  @ApiOperation({ summary: 'How far an order is' })
  @ApiOkResponse({ type: OrderView })
  @ApiNotFoundResponse({ description: 'There is no such order' })
  async get(@Param('orderId') orderId: string): Promise<OrderView> {
    return viewOf(await this.orders.get(orderId));
  }
}

function viewOf({ orderId, amount, status }: Order): OrderView {
  return { orderId, amount, status };
}
